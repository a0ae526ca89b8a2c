"""A hub that is away, slow, lying or restarting: who is known goes on, and nobody is mistaken."""

from __future__ import annotations

import time

from bed import Agent, Bed, Failed, until

# What a lying hub's answers may add to the collector's memory.
ANSWER_KIB_MAX = 32 * 1024

# More than the collector reads of one answer, and what lies in the sockets between.
HUGE_READ_BYTES_MAX = 16 * 1024 * 1024

# How a hub misbehaves; see `between.py`.
MODES = ["down", "hang", "error", "garbage", "huge", "flip"]

# How long an unknown agent's attempts are watched while the hub misbehaves.
WATCH_SECONDS = 3


def hub_faults(bed: Bed) -> list[str]:
    """What does not hold."""
    wrong = []
    ann, gpu = ((bed.dir / "tokens" / name).read_text() for name in ("ann--", "ann--gpu-1"))
    with Agent(bed, bed.by_grpc, ann) as known:
        known.hears("streaming")
        for mode in MODES:
            wrong += [f"hub {mode}: {each}" for each in misbehaves(bed, mode, gpu)]
        wrong += restarts(bed)
        wrong += still_there(bed, "after all of it")
    return wrong


def misbehaves(bed: Bed, mode: str, gpu: str) -> list[str]:
    """With the hub so: a known token passes, a new one does not, and does when it is over."""
    wrong = []
    # New to the collector in each mode.
    token = bed.mint("bob", ["access:servers!server=bob/", "users:activity!user=bob"])
    # So are we who read: the collector goes by what the hub said of us for a minute.
    bed.reader = bed.mint("admin")
    rss_kib = bed.rss_kib("collector")
    seen = bed.rows()[("bob", "")]["last_seen"]
    bed.between.mode = mode
    try:
        with Agent(bed, bed.by_grpc, token, log="debug") as new:
            said = new.hears("streaming", "reports are kept")
            if "streaming" in said:
                wrong.append("a token that nobody vouched for was let in")
            time.sleep(WATCH_SECONDS)
            if bed.rows()[("bob", "")]["last_seen"] != seen:
                wrong.append("an unknown agent's report was taken")
            wrong += still_there(bed, "while the hub misbehaves")
            with Agent(bed, bed.by_grpc, gpu) as again:
                again.hears("streaming")
            if mode == "huge" and bed.between.huge_sent_bytes > HUGE_READ_BYTES_MAX:
                wrong.append(f"{bed.between.huge_sent_bytes} bytes of one answer were read")
            bed.between.mode = "pass"
            # A refusal (not a trouble) is remembered for ten seconds.
            new.hears("streaming", seconds=90)
    except Failed as failed:
        wrong.append(str(failed))
    finally:
        bed.between.mode = "pass"
    grown_kib = bed.rss_kib("collector") - rss_kib
    if grown_kib > ANSWER_KIB_MAX:
        wrong.append(f"the collector grew by {grown_kib} KiB")
    print(f"hub {mode:<8} known goes on, new waits; collector {grown_kib:+} KiB", "WRONG" if wrong else "")
    return wrong


def restarts(bed: Bed) -> list[str]:
    """The hub goes and comes back under live streams."""
    bed.reader = bed.mint("admin")
    seen = bed.rows()[("ann", "")]["last_seen"]
    bed.stop("hub")
    time.sleep(WATCH_SECONDS)
    bed.start_hub()
    wrong = still_there(bed, "over a restart of the hub")
    if bed.rows()[("ann", "")]["last_seen"] == seen:
        wrong.append("nothing was taken while the hub restarted")
    token = bed.mint("bob", ["access:servers!server=bob/", "users:activity!user=bob"])
    with Agent(bed, bed.by_grpc, token) as new:
        new.hears("streaming", seconds=90)
    print("hub restarts  known goes on, new is let in afterwards", "WRONG" if wrong else "")
    return wrong


def still_there(bed: Bed, when: str) -> list[str]:
    """Whether Ann's reports go on."""
    seen = bed.rows()[("ann", "")]["last_seen"]
    try:
        until("her reports go on", lambda: bed.rows()[("ann", "")]["last_seen"] != seen, 20)
    except Failed:
        return [f"the known agent is not heard {when}"]
    return []
