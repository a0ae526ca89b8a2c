"""A queue whose reader is slower than its writer: the backlog is the leak; sometimes it catches up."""
import asyncio, os, random
async def main():
    queue = asyncio.Queue()
    async def produce():
        while True:
            for _ in range(random.randint(0, 2 * WRITE)):
                queue.put_nowait(os.urandom(ITEM_BYTES))
            await asyncio.sleep(0.5)
    async def consume():
        while True:
            for _ in range(random.randint(0, 2 * READ)):
                if not queue.empty():
                    queue.get_nowait()
            await asyncio.sleep(0.5)
    await asyncio.gather(produce(), consume())
await main()
