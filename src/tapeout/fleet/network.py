"""A folded-Clos Ethernet fabric: how many tiers, switch ports and optics an endpoint needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fabric:
    """Per endpoint link: switch ports over all tiers, and optical modules (the links from endpoint to leaf are
    optical too where `optical_leaf`)."""

    tiers: Floats
    ports: Floats
    transceivers: Floats


def clos(endpoints: Floats, radix: Floats, oversubscription: Floats, optical_leaf: bool = True) -> Fabric:
    """The smallest folded Clos of switches of `radix` ports for `endpoints` links.

    With oversubscription o, a leaf gives o/(1+o) of its ports to endpoints. One tier reaches r endpoints, two
    r·r·o/(1+o), three r·r/2·r·o/(1+o) (Al-Fares et al., SIGCOMM 2008, at o = 1: r³/4). Each endpoint then takes
    one leaf port; each upward link, of which there are 1/o per endpoint and tier, a port at either end.
    """
    endpoints, radix = np.asarray(endpoints, float), np.asarray(radix, float)
    o = np.asarray(oversubscription, float)
    down = o / (1 + o)
    tiers = np.where(
        endpoints <= radix,
        1.0,
        np.where(endpoints <= radix**2 * down, 2.0, np.where(endpoints <= radix**3 / 2 * down, 3.0, 4.0)),
    )
    upward = (tiers - 1) / o
    ends = 2.0 if optical_leaf else 0.0
    return Fabric(tiers, 1 + 2 * upward, ends + 2 * upward)
