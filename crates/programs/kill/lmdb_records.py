"""The records of the LMDB programs: keys spread over all keys, and values that tell the version they are of."""

from scatter import mix

KEYS = 500


def key(number):
    return b"%08x" % (number * ((1 << 32) // KEYS))


def value(seed, version, number):
    filler = mix(seed ^ mix(version ^ mix(number)))
    return b"%d %s" % (version, b"%016x" % filler * (1 + filler % 20))
