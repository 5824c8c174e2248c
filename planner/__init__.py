"""Graph + budget -> Plan. Knows nothing of torch."""
