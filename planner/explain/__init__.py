"""Why a plan, or the unplanned step, is what it is: its peak, its price and its minimum."""
