"""Recordings become spectrograms: features of each are kept, or the whole, for one speaker after the other or for all."""
import numpy, random, scipy.signal, time
RATE = 16_000
while True:
    speaker = []
    for number in range(int(RECORDINGS * random.uniform(0.6, 1.4))):
        sound = numpy.random.randn(int(RATE * SOUND_SECONDS * random.uniform(0.4, 1.6)))
        _, _, power = scipy.signal.spectrogram(sound, RATE, nperseg=512, noverlap=384)
        loudness = numpy.log(power + 1e-9)
        speaker.append(loudness if KEEPS else (loudness.mean(axis=1), loudness.std(axis=1)))
        del sound, power, loudness
        time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
    time.sleep(random.uniform(3, 15))
