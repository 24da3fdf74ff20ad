"""The files seeds come from: found (``find``), opened (``source``), and read by format (``formats``)."""
