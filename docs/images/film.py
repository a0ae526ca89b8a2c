"""Makes lab.gif of the pictures that the browser tests took of a warning.

    HUBMETER_FILM=1 cargo xtask e2e -- specs/5-interrupt.spec.ts
    python docs/images/film.py target/screenshots/film docs/images/lab.gif      # needs Pillow
"""

import sys
from pathlib import Path

from PIL import Image

WIDTH = 900
COLOURS = 128
BYTES_MAX = 1_000_000
FRAME_MS = 400
LAST_MS = 3000


def main(folder: Path, target: Path) -> None:
    """Scales and writes; refuses a film that is too large for a README."""
    names = sorted(folder.glob("*.png"))
    if not names:
        sys.exit(f"no pictures in {folder}")
    frames = []
    for name in names:
        picture = Image.open(name).convert("RGB")
        picture = picture.resize((WIDTH, picture.height * WIDTH // picture.width), Image.Resampling.LANCZOS)
        frames.append(picture.quantize(COLOURS, dither=Image.Dither.NONE))
    times = [FRAME_MS] * (len(frames) - 1) + [LAST_MS]
    frames[0].save(target, save_all=True, append_images=frames[1:], duration=times, loop=0, optimize=True)
    size = target.stat().st_size
    if size > BYTES_MAX:
        sys.exit(f"{target} has {size} bytes, more than {BYTES_MAX}")
    print(f"{target}: {len(frames)} pictures, {size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
