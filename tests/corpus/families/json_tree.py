"""A parsed document that is taken apart and kept whole: many small objects, uneven steps."""
import json, random, time
documents = []
def document():
    return json.dumps([{"id": random.random(), "tags": [str(random.random()) for _ in range(6)],
                        "nested": {"x": [random.random() for _ in range(10)]}} for _ in range(ITEMS)])
text = document()
while True:
    for _ in range(random.choice([0, 1, 1, 2, 4])):
        documents.append(json.loads(text))
    time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
