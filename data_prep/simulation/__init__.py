"""Simulated cameras and what they photograph."""
