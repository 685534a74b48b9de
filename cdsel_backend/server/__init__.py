"""What comes in: the Flask app that Label Studio and the admin talk to."""
