"""Reports put together as text, page by page, with pictures in base64; written when complete, and kept or not."""
import base64, os, random, time
reports = []
while True:
    text = ""
    for page in range(PAGES):
        picture = base64.b64encode(os.urandom(int(PICTURE_BYTES * random.uniform(0.5, 1.5)))).decode()
        text += f"<h2>Page {page}</h2><img src='data:image/png;base64,{picture}'>\n"
        time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
    with open(os.devnull, "w") as file:
        file.write(text)
    if KEEPS:
        reports.append(text)
    time.sleep(random.uniform(5, 30))
    del text
