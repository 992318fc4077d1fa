"""What a version changes: places all over the file and their new bytes, both made of the seed and the version."""

MASK = (1 << 64) - 1
RECORDS = 512
RECORD_WORDS_MAX = 256


def mix(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def records(seed, version, length):
    begin = mix(seed ^ mix(version))
    for number in range(RECORDS):
        size = mix((begin + number) & MASK)
        words = 1 + size % RECORD_WORDS_MAX
        place = mix(size)
        at = place % (length - 8 * words + 1)
        yield at, mix(place).to_bytes(8, "little") * words
