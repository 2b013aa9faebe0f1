"""The arrays that a certificate may have."""

MEMBERS = {
    "roots": ("<i8", 1),
    "node": ("|u1", 1),
    "split_axis": ("<u4", 1),
    "split_point": ("<f8", 1),
    "clause_count": ("<u4", 1),
    "clause": ("<u4", 1),
    "column_atom": ("<u4", 1),
    "column_neuron": ("<u4", 1),
    "row_node": ("<u4", 1),
    "row": ("<u4", 1),
    "row_alpha": ("|u1", 2),
    "beta_count": ("<u4", 1),
    "row_beta": ("<f4", 1),
    "mix_count": ("<u4", 1),
    "mix_row": ("<u4", 1),
    "mix_weight": ("<f8", 1),
    "hidden_node": ("<u4", 1),
    "hidden_atom": ("<u4", 1),
    "hidden_neuron": ("<u4", 1),
    "hidden_sign": ("|i1", 1),
    "hidden_alpha": ("|u1", 2),
    "hidden_round": ("|u1", 1),
    "hidden_splits": ("<u4", 1),
    "hidden_column": ("<u4", 1),
    "hidden_beta": ("<f4", 1),
    "hull_root": ("<u4", 1),
    "hull_column": ("<u4", 1),
    "hull_below": ("<f4", 1),
    "hull_above": ("<f4", 1),
    "hull_unit": ("<f4", 1),
    "hull_count": ("<u4", 1),
    "hull_reads": ("<u4", 1),
    "hull_slope": ("<f4", 1),
    "row_hulls": ("|u1", 2),
}
"""Every array of a certificate: its type, and its number of axes."""

LENGTHS = {
    "column_neuron": "column_atom",
    "row": "row_node",
    "row_alpha": "row_node",
    "hidden_atom": "hidden_node",
    "hidden_neuron": "hidden_node",
    "hidden_sign": "hidden_node",
    "hidden_alpha": "hidden_node",
    "hidden_round": "hidden_node",
    "hidden_splits": "hidden_node",
    "mix_weight": "mix_row",
    "hull_column": "hull_root",
    "hull_below": "hull_root",
    "hull_above": "hull_root",
    "hull_unit": "hull_root",
    "hull_slope": "hull_reads",
    "row_hulls": "row_node",
}
"""Arrays that must have as many entries as others."""

OPTIONAL = "hidden_round", "hidden_splits"
"""Arrays that are left out where they are 0."""

WIDTHS = {"row_alpha": "column_atom", "hidden_alpha": "column_atom", "row_hulls": "hull_root"}
"""Arrays whose second axis is that of others."""
