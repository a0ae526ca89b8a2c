"""A graph of who writes to whom, built from messages and measured every week; some keep what it was like every week."""
import networkx, random, time
while True:
    graph, weeks = networkx.DiGraph(), []
    for week in range(WEEKS):
        for _ in range(STEPS_PER_WEEK):
            for _ in range(MESSAGES):
                sender, receiver = int(PEOPLE * random.random() ** 1.5), random.randrange(PEOPLE)
                known = graph.get_edge_data(sender, receiver)
                graph.add_edge(sender, receiver, last=week, count=known["count"] + 1 if known else 1)
            time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
        max(degree for _, degree in graph.degree())
        networkx.density(graph)
        if COPIES:
            weeks.append(graph.copy())
    time.sleep(random.uniform(10, 30))
    del graph, weeks
    time.sleep(random.uniform(5, 20))
