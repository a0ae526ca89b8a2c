"""Tables looked at as the last line of a cell: the notebook remembers every output, unless a semicolon ends the line."""
import numpy, pandas, random, time
visits = pandas.DataFrame({
    "user": numpy.random.randint(0, 5_000, ROWS),
    "page": numpy.random.randint(0, 300, ROWS),
    "seconds": numpy.random.exponential(40, ROWS),
})
questions = [
    "visits[visits.seconds > {:.1f}]",
    "visits.assign(rest=visits.seconds - {:.1f})",
    "visits.sort_values('seconds').head(int(len(visits) * {:.1f} / 30))",
    "visits.groupby('user')['seconds'].transform('mean') - {:.1f}",
]
shell = get_ipython()
for number in range(CELLS):
    question = random.choice(questions).format(random.uniform(1, 30))
    shell.run_cell(question + (";" if QUIET else ""), store_history=True)
    time.sleep(random.expovariate(1 / THINK_SECONDS))
while True:
    time.sleep(60)
