"""Views for people: rows and audits in the terminal and as self-contained HTML pages.

Stored rows become `view.RowView`, a neutral structure that `terminal` and `rows_page` draw; the JSON of an audit goes to `terminal` and
`audit_page`. Nothing here decides anything: what is shown was counted elsewhere. Text from data is escaped where it is drawn.
"""
