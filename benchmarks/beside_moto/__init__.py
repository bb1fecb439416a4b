"""Pilothouse and moto's server side by side: the two servers, and many clients that call them."""
