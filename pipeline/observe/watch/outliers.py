"""Whether a number is unlike those before it: the modified z-score.

B. Iglewicz and D. C. Hoaglin, "How to Detect and Handle Outliers", ASQC Basic References in Quality Control,
vol. 16, 1993; also NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.5.17. Median and MAD do not
mind that some of the earlier numbers were strange themselves, as mean and standard deviation would.
"""

from collections.abc import Sequence
from statistics import median

# The quartile of the normal distribution: it makes the score one of standard deviations.
QUARTILE = 0.6745
THRESHOLD = 3.5


def modified_z(value: float, earlier: Sequence[float], floor: float) -> float:
    """Return 0.6745 (value - median) / MAD, over the numbers before it.

    The MAD is `floor` at least: where all were the same it would be 0, and the least change infinite.

    >>> modified_z(130, [99, 100, 101, 100, 102], floor=1)
    20.235
    >>> modified_z(101, [100, 100, 100], floor=2)
    0.33725
    """
    middle = median(earlier)
    mad = median(abs(number - middle) for number in earlier)
    return QUARTILE * (value - middle) / max(mad, floor)
