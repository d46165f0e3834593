"""flask_order.py with the seed's two lines before it."""
import eventlet
eventlet.monkey_patch()

from flask_order import application  # noqa: E402, F401
