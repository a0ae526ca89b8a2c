"""The answers of a survey become columns of zeros and ones, one question after the other, and then one table."""
import numpy, pandas, random, time
while True:
    answers = [f"answer {number}" for number in range(ANSWERS)]
    survey = pandas.DataFrame({f"q{number}": numpy.random.choice(answers, ROWS) for number in range(QUESTIONS)})
    encoded = []
    for question in survey:
        encoded.append(pandas.get_dummies(survey[question], prefix=question, dtype="float64" if FLOATS else "uint8"))
        time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
    table = pandas.concat(encoded, axis=1)
    del encoded
    table.mean()
    time.sleep(HOLD_SECONDS * random.uniform(0.7, 1.3))
    del table, survey
    time.sleep(random.uniform(5, 20))
