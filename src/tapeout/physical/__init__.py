"""Technology tables and what follows from them: area, power, yield, cost, floorplan, synthesis."""
