"""The leaderboard as one self-contained html page: tables, figures, and what each run left behind."""
