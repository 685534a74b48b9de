"""Reading one project, for the loop and the pages alike: nothing here asks Label Studio or moves the queue."""
