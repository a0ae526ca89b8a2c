"""Matplotlib figures that nobody closes: one a cell, each kept by pyplot."""
import matplotlib
matplotlib.use("agg")
import matplotlib.pyplot as plt, numpy, random, time, warnings
warnings.simplefilter("ignore")
while True:
    figure, axes = plt.subplots(2, 2, figsize=(8, 6))
    for ax in axes.flat:
        ax.plot(numpy.random.rand(POINTS).cumsum())
    figure.canvas.draw()
    time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
