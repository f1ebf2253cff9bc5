"""Where in an image an answer comes from: heat maps, made on the device from the artifact itself."""
