"""Folds of a table, each with its own scaling, powers of its columns and a model; scores are kept, or models that hold their data."""
import numpy, random, time
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
x = numpy.random.randn(ROWS, COLUMNS)
y = x[:, 0] * x[:, 1] + numpy.random.randn(ROWS)
kept = []
while True:
    for train, test in KFold(FOLDS, shuffle=True).split(x):
        if NEIGHBOURS:
            model = make_pipeline(StandardScaler(), KNeighborsRegressor(random.randint(3, 15)))
        else:
            model = make_pipeline(StandardScaler(), PolynomialFeatures(2), Ridge(random.uniform(0.1, 10)))
        model.fit(x[train], y[train])
        score = model.score(x[test][:500], y[test][:500])
        kept.append((score, model) if NEIGHBOURS else score)
        del model
        time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
    time.sleep(random.uniform(3, 15))
