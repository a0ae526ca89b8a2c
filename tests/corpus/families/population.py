"""Animals that eat, breed and die: their number finds its bound, or swings with the seasons; what is collected of each of them every day does not."""
import math, random, time
class Animal:
    def __init__(self, genes):
        self.genes, self.age, self.energy = genes, 0, 5.0
    def child(self):
        genes = bytearray(self.genes)
        genes[random.randrange(len(genes))] = random.randrange(256)
        return Animal(genes)
animals, collected, day = [Animal(bytearray(GENE_BYTES)) for _ in range(300)], [], 0
while True:
    day += 1
    food = CAPACITY * (1 + SEASON_SHARE * math.sin(2 * math.pi * day / 120))
    room = max(0.0, 1 - len(animals) / max(food, 1))
    born = [animal.child() for animal in animals if random.random() < 0.02 + BIRTHS * room]
    crowd = min(0.3, max(0.0, len(animals) / max(food, 1) - 1))
    animals = [animal for animal in animals if random.random() > 0.02 + crowd] + born
    for animal in animals:
        animal.age += 1
        animal.energy = 0.9 * animal.energy + room
    if COLLECTS:
        collected.extend({"day": day, "age": animal.age, "energy": animal.energy} for animal in animals)
    time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
