"""AgentInstruct (papers.md 2): agentic flows from raw texts and code to instructions with responses, skill by skill."""
