"""What several rooms of tests share: servers, a platform, a night on it, stand-ins. No test is in here."""
