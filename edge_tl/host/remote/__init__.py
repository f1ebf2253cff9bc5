"""Devices across the room: a bundle and the target part go over OpenSSH, a verb runs there, its JSON comes home.

`targets` names devices, `parcel` and `wheel` are what is sent, `ssh` is the connection, `agent` the program on the
device, `errand` one device's journey and `crew` all of them at once. It must not import PyTorch: a desk without it
can still send a bundle.
"""
