"""How long an artifact takes, and on which machine."""
