"""Many chips: demand, racks, network, sites, power, supply, finance, risk."""
