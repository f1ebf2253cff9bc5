"""A verb on other machines: the bundle and the device's part go over OpenSSH, the verb runs there, its JSON returns.

`inventory` reads which devices, `upload` and `wheel` are what is sent, `ssh` is the connection, `agent` the program on
the device, `job` runs on one device and `run_all` on all of them. It needs no PyTorch on the host.
"""
