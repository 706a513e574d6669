"""Nine jobs in five waves: B1(J1, J2, J3) -> J4 -> J5 -> B2(J6, J7, J8) -> J9."""
