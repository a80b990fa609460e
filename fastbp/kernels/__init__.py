"""The compiled core. What lies here is compiled once for each CPU level; ``dispatch`` picks one."""
