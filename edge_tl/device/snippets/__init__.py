"""Programs that classify images with one bundle, written from its contract, in several languages. They need no
edge-tl."""
