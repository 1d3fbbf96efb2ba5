"""What the sidecar says of itself, to orchestrators and operators.

other_workers   what the other workers of this sidecar tell
health          /-/live, /-/ready, /-/metrics, /-/doctor
"""
