"""Pretrained networks behind one interface: Stable Diffusion UNets, ControlNets, Wan."""
