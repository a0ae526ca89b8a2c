"""A scraper: pages come when the other side lets them, each is parsed and kept; now and then it is told to wait."""
import html.parser, random, time
class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.parts = [], []
    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
    def handle_data(self, data):
        self.parts.append(data)
def fetched():
    item = "<p class='item {0}'><a href='/page/{0}'>word {0}</a></p>"
    return "".join(item.format(random.random()) for _ in range(int(ITEMS * random.lognormvariate(0, 0.8))))
pages = []
while len(pages) < PAGES_MAX:
    if random.random() < WAIT_CHANCE:
        time.sleep(random.uniform(10, 40))
    text, page = fetched(), Page()
    page.feed(text)
    pages.append((text, page))
    time.sleep(random.expovariate(1 / PAUSE_SECONDS))
while True:
    sum(len(page.parts) for _, page in pages)
    time.sleep(random.uniform(5, 20))
