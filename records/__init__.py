"""What is stored and handed on, typed and without torch: Profile, Timeline, Run, Verdict."""
