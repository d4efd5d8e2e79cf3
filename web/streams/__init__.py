"""What streams to browsers: server-sent events, and the watches behind them."""
