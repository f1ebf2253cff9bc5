"""A bundle as a web service (extra `serve`). FastAPI, uvicorn and the Prometheus client are imported here alone, inside
functions: the rest of the device has none of them."""
