"""Many chips: demand, racks, network, sites, power, supply, money and risk, as one graph of named quantities."""
