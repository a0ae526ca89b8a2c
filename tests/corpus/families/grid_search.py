"""A grid of models, each fitted in a pool of workers: scores are kept, and the models too where somebody asked for them."""
import random, time, warnings
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_validate
warnings.simplefilter("ignore")
x, y = make_classification(ROWS, 20, random_state=1)
results = []
while True:
    for depth in (4, 8, 12, None):
        model = RandomForestClassifier(TREES, max_depth=depth, min_samples_leaf=random.choice([1, 2, 4]))
        found = cross_validate(model, x, y, cv=3, n_jobs=WORKERS, return_estimator=bool(KEEPS))
        results.append(found if KEEPS else float(found["test_score"].mean()))
        time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
    time.sleep(random.uniform(5, 20))
