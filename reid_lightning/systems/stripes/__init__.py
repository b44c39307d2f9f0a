"""Features of horizontal stripes (Sun et al. 2018, PCB; Zhang et al. 2017, AlignedReID; Fan et al. 2018, SCPNet)."""
