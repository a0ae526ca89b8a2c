"""Runs of words are counted over a shelf of texts: of pairs ever fewer are new, of longer runs most are."""
import collections, numpy, random, time
letters = "abcdefghijklmnopqrstuvwxyz"
words = ["".join(random.choices(letters, k=random.randint(2, 11))) for _ in range(WORDS_KNOWN)]
counts = collections.Counter()
for number in range(TEXTS):
    numbers = numpy.random.zipf(1.25, int(TEXT_WORDS * random.uniform(0.3, 1.7))) % WORDS_KNOWN
    text = [words[n] for n in numbers]
    counts.update(zip(*(text[start:] for start in range(RUN))))
    time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
while True:
    counts.most_common(20)
    time.sleep(random.uniform(15, 45))
