"""pd.concat in a loop: every round copies all that was there, so growth comes with teeth."""
import numpy, pandas, random, time
frame = pandas.DataFrame({"a": [], "b": []})
while True:
    more = pandas.DataFrame({"a": numpy.random.rand(ROWS), "b": numpy.random.rand(ROWS)})
    frame = pandas.concat([frame, more], ignore_index=True)
    time.sleep(random.uniform(0.5, 1.5) * PAUSE_SECONDS)
