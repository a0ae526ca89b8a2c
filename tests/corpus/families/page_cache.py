"""Files read and mapped again and again: the page cache grows, nothing that counts does."""
import mmap, os, random, tempfile, time
path = os.path.join(tempfile.mkdtemp(), "data")
with open(path, "wb") as file:
    for _ in range(FILE_MEGABYTES):
        file.write(os.urandom(1 << 20))
while True:
    with open(path, "rb") as file:
        while file.read(1 << 20):
            time.sleep(PAUSE_SECONDS)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        total = 0
        for at in range(0, len(view), 4096 * 64):
            total += view[at]
            if at % (1 << 22) == 0:
                time.sleep(PAUSE_SECONDS)
    time.sleep(random.uniform(2, 8))
