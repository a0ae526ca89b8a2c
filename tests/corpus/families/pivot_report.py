"""A report for every month: sales become a wide table by article and shop, with shares; a file is written, and the tables go, or stay for the year."""
import numpy, pandas, random, time
year = []
while True:
    sales = pandas.DataFrame({
        "article": numpy.random.randint(0, ARTICLES, ROWS),
        "shop": numpy.random.randint(0, SHOPS, ROWS),
        "amount": numpy.random.gamma(2, 20, ROWS),
    })
    wide = sales.pivot_table(index="article", columns="shop", values="amount", aggfunc="sum", fill_value=0)
    shares = wide / wide.sum()
    len(wide.iloc[:200].to_csv())
    time.sleep(random.uniform(0.5, 2))
    year.append((wide, shares))
    del sales, wide, shares
    if len(year) >= MONTHS:
        time.sleep(random.uniform(2, 10))
        year.clear()
    time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
