"""What tests share: processes, scripts, graphs, models and their comparisons."""
