"""The notebooks of a class are graded one after the other: each is read, checked and gets its feedback; grades are kept, or all of it."""
import base64, html, json, os, random, time
def handed_in(student):
    cells = []
    for number in range(random.randint(5, 25)):
        source = [f"value_{line} = {random.random()}\n" for line in range(random.randint(3, 60))]
        picture = base64.b64encode(os.urandom(int(PICTURE_BYTES * random.lognormvariate(0, 0.8)))).decode()
        output = {"output_type": "display_data", "data": {"image/png": picture}, "metadata": {}}
        cells.append({"cell_type": "code", "source": source, "outputs": [output], "metadata": {"student": student}})
    return json.dumps({"cells": cells, "nbformat": 4})
while True:
    book = {}
    for student in range(STUDENTS):
        notebook = json.loads(handed_in(student))
        names = {}
        for cell in notebook["cells"]:
            exec("".join(cell["source"]), {}, names)
        feedback = "".join(f"<pre>{html.escape(''.join(c['source']))}</pre>" for c in notebook["cells"])
        grade = sum(names.values()) / len(names)
        book[student] = (grade, notebook, feedback) if KEEPS else grade
        del notebook, feedback
        time.sleep(random.expovariate(1 / PAUSE_SECONDS))
    time.sleep(HOLD_SECONDS * random.uniform(0.7, 1.3))
