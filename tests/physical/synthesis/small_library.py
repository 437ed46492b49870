"""A library of four cells, small enough to compute paths by hand."""

LIBRARY = """
library (small) {
  /* a comment */
  time_unit : "1ns"; voltage_unit : "1V"; current_unit : "1mA"; leakage_power_unit : "1nW";
  capacitive_load_unit (1, pf); nom_voltage : 1.0;
  lu_table_template (d) { variable_1 : input_net_transition; variable_2 : total_output_net_capacitance;
    index_1 ("0.1, 0.3"); index_2 ("0.01, 0.03"); }
  lu_table_template (c) { variable_1 : constrained_pin_transition; variable_2 : related_pin_transition;
    index_1 ("0.1, 0.3"); index_2 ("0.1, 0.3"); }
  power_lut_template (p) { variable_1 : input_transition_time; index_1 ("0.1, 0.3"); }
  cell (INV) { area : 1; cell_leakage_power : 2;
    pin (A) { direction : input; capacitance : 0.01;
      internal_power () { rise_power (p) { values ("0.001, 0.003"); } fall_power (scalar) { values ("0.002"); } } }
    pin (Y) { direction : output; function : "!A";
      timing () { related_pin : "A"; timing_sense : negative_unate;
        cell_rise (d) { values ("0.10, 0.20", "0.30, 0.40"); }
        cell_fall (d) { values ("0.05, 0.15", \\
                                "0.25, 0.35"); }
        rise_transition (d) { values ("0.1, 0.2", "0.1, 0.2"); }
        fall_transition (d) { values ("0.1, 0.2", "0.1, 0.2"); } } } }
  cell (INVX2) { area : 2; cell_leakage_power : 4;
    pin (A) { direction : input; capacitance : 0.02; }
    pin (Y) { direction : output; function : "A'";
      timing () { related_pin : "A";
        cell_rise (scalar) { values ("0.1"); } cell_fall (scalar) { values ("0.1"); }
        rise_transition (scalar) { values ("0.1"); } fall_transition (scalar) { values ("0.1"); } } } }
  cell (NAND2) { area : 1.5; cell_leakage_power : 3;
    pin (A) { direction : input; capacitance : 0.01; }
    pin (B) { direction : input; capacitance : 0.01; }
    pin (Y) { direction : output; function : "!(A & B)";
      timing () { related_pin : "A B"; timing_sense : negative_unate;
        cell_rise (scalar) { values ("0.2"); } cell_fall (scalar) { values ("0.3"); }
        rise_transition (scalar) { values ("0.1"); } fall_transition (scalar) { values ("0.3"); } } } }
  cell (DFF) { area : 5; cell_leakage_power : 10;
    ff (IQ, IQN) { clocked_on : "CK"; next_state : "D"; }
    pin (CK) { direction : input; clock : true; capacitance : 0.005; }
    pin (D) { direction : input; capacitance : 0.01;
      timing () { related_pin : "CK"; timing_type : setup_rising;
        rise_constraint (c) { values ("0.1, 0.2", "0.3, 0.4"); } fall_constraint (scalar) { values ("0.05"); } }
      timing () { related_pin : "CK"; timing_type : hold_rising;
        rise_constraint (scalar) { values ("0.02"); } fall_constraint (scalar) { values ("0.01"); } } }
    pin (Q) { direction : output; function : "IQ";
      timing () { related_pin : "CK"; timing_type : rising_edge;
        cell_rise (scalar) { values ("0.5"); } cell_fall (scalar) { values ("0.6"); }
        rise_transition (scalar) { values ("0.1"); } fall_transition (scalar) { values ("0.1"); } } } }
}
"""
