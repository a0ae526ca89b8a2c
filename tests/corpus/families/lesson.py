"""A notebook in class: a table is loaded, shown, grouped, fitted and drawn, with talk between the cells; some are run again."""
import matplotlib, numpy, pandas, random, time
matplotlib.use("Agg")
import matplotlib.pyplot as pyplot
from sklearn.linear_model import LinearRegression
def load():
    global flats
    size = numpy.random.gamma(6, 15, ROWS)
    flats = pandas.DataFrame({"size": size, "rooms": (size // 25).astype(int), "year": numpy.random.randint(1900, 2024, ROWS)})
    flats["rent"] = 9 * flats["size"] + numpy.random.normal(0, 80, ROWS)
def show():
    flats.describe(), flats.head(), flats.corr()
def group():
    flats.groupby("rooms")["rent"].agg(["mean", "median", "std"])
def fit():
    global model
    model = LinearRegression().fit(flats[["size", "rooms", "year"]], flats["rent"])
    (model.predict(flats[["size", "rooms", "year"]]) - flats["rent"]).abs().mean()
def draw():
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4))
    axes[0].scatter(flats["size"][:20_000], flats["rent"][:20_000], s=2)
    axes[1].hist(flats["rent"], bins=60)
    figure.canvas.draw()
    pyplot.close(figure)
for _ in range(LESSONS):
    for cell in (load, show, group, draw, fit, draw):
        cell()
        time.sleep(THINK_SECONDS * random.uniform(0.3, 2))
        while random.random() < AGAIN:
            cell()
            time.sleep(THINK_SECONDS * random.uniform(0.2, 1))
while True:
    time.sleep(60)
