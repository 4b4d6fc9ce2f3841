package builtins_test

# What these functions answer is what `opa test` has confirmed.

tokens := {
	"RS256": "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLm9yZyIsImF1ZCI6WyJhcGkiXSwic3ViIjoic3BpZmZlOi8vZXhhbXBsZS5vcmcvYSIsImV4cCI6NDEwMjQ0NDgwMH0.KRET9Q4TM3OhLpADL3j7F0KsE8NoFuGvwg_DQqSYBtsYy8QV2aqbHAf9XvWc6a4PNiOgCatHiCpcEq13ySkCdjFwiT689PbpCZhqbY3TmOQ99dKgVCsuw24zliwXFSpH1fPc77w1I3IxkD_bS1WlIKLRrrTH_6KCElv1gqQlXVDLkPVnZHa9syLl4wdQRahQrxmDDHcDaEYBV2arztrPXua3EHg0sKQytMOTqUIxY10trYREUp7hiQbzUpqXhc7wes6FAkj3nQQBhuMUeuJLpy5EqCrTlJnDJGHBTSA_5Ayy9bxlQeXL5LSIPAmETcg44gYbgZxo_I3JYbHOR7nnPQ",
	"RS384": "eyJhbGciOiJSUzM4NCIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLm9yZyIsImF1ZCI6WyJhcGkiXSwic3ViIjoic3BpZmZlOi8vZXhhbXBsZS5vcmcvYSIsImV4cCI6NDEwMjQ0NDgwMH0.I5mLK97W2jTEKXBXvB3_VQ7am8PUOQALWKFVxdlAWus2tcA16kK6EKLUk6fQc0hMmy-VN_nyHAzf2972Y-ZqxUwi6t450ywQRRmrXwYSidv8xBRxCCGLuRMKeSCS0ze3rV0EyijjocOkAEkKne14Q6FClVwa3d3RZEY6nlVs1N3cTVTW7LQouiuvFETzyf0dK0QSt4bpVmRaThMUlaOQ_W50vIt9eBcVthyXnBPiW5nRBq_RClRkVUufZavViuyTXZkIQ6JXRxndg0RCRXbOCb1btmAtMqqWUSJtmo66a6S2pr6nJYSnBuwXufSFpkGCtVLWLrx8YZ8rx7_PuCoXag",
	"RS512": "eyJhbGciOiJSUzUxMiIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLm9yZyIsImF1ZCI6WyJhcGkiXSwic3ViIjoic3BpZmZlOi8vZXhhbXBsZS5vcmcvYSIsImV4cCI6NDEwMjQ0NDgwMH0.hC7rETxE7u6DsIiEMs6B1KEFpUtTxEjC5bVF-OeoGeyp07dSyNecpk6882ocJxXJUFI3UwIRrsIYKUD1cKIOb50SMFVmkrKSAPM7RFpUmt4sP4Cd0dC0up4leDgVlIg85gSdSp9CbW0jfbChajgj8bm9W_hexXo9Uj_EeIbNvxvh7wu2whreidv5C0R5rDCqD4rgl5zdB5vEvZpFPVLLRHRDC1huHq-HzOMj2mCXxdbFS9mOXs7l_JN4b264HyeWleHjBl3gnMLvVd_HQzhQpBcpfGXknQLGZjVkKGHHpsIVrKY4Q_iOQSm4pBFhxoreSyJS-yJCciI7OzXZEeut7g",
	"PS256": "eyJhbGciOiJQUzI1NiIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLm9yZyIsImF1ZCI6WyJhcGkiXSwic3ViIjoic3BpZmZlOi8vZXhhbXBsZS5vcmcvYSIsImV4cCI6NDEwMjQ0NDgwMH0.hsdEQapukBLFCJ79szpZnv1997iKtFoAxmSx-YiVYlEZs_T36YkdC6O3bGt1ORdEF7q-xzvzybO06NYcgv9Mwpu_DG_aO5Qei7MMmvrcJN_DFGrBsve0WgV_Wt-sXHPBJ28Flky1vuLbSF8U8-ceQGV8yTcvgfp7DDyupIUJfZaXcUc7oIyp9R5QLfRbam8tpPiaRK6OD6svk61lKWx5-5-eWLpj_dKkFB6fApRebSvwfvs9BFqOVXRIryJxpEKCq_IfW_u7bS7K552wGrcrHGom5swubGf0e2kTe-pcg7qqszv1Ix-pzR-hisQLJoa-g2uBT-S0zjmn1Y3j0blk7g",
	"PS384": "eyJhbGciOiJQUzM4NCIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLm9yZyIsImF1ZCI6WyJhcGkiXSwic3ViIjoic3BpZmZlOi8vZXhhbXBsZS5vcmcvYSIsImV4cCI6NDEwMjQ0NDgwMH0.QKoJ-Yq3BfJd7Sd7jf_kDmnGwigRU1WHNPfX9mbTQMUCAWKbITgJkKXKEJ64JTqx7uD-Uu-JVa0LQb34Vlpf6bo2TPYgqG6xOOA1eapqvBwPWxgZP-MtDIqbfOcdptzWFoS5BtwE0mFUTBxl7A2lMu9hEwA1cixYHmynw7T74XGaxQDHk492_YfB0k-7nGnmQxD8-DgMyVbFX2uTjq8YkyTX_uEBc-xs1TSN6KLPnz_dPuQIMVqw_zdEhEARfWL8sMZdoDP8fQ2f9-AXs5znBFx_fYL4csT3XLPQTjWLR4skRNTbASTPBnseB3YvZ-DRAIYrbwtgOt2FDWs2hlT78A",
	"PS512": "eyJhbGciOiJQUzUxMiIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLm9yZyIsImF1ZCI6WyJhcGkiXSwic3ViIjoic3BpZmZlOi8vZXhhbXBsZS5vcmcvYSIsImV4cCI6NDEwMjQ0NDgwMH0.KPZtKZRA4Se7C1Kr8HpEpB4DV9eWDbVx5WiWLtj_--DtAIUD5r4uZVdRJYtpyMW3r4mUG7Edn8szxfuEoeU9L4L6TzCaKlDHT1JnF4U1_0ZGj9TNreJpIh2lf4tNrgV8xQFmcy3cQzZDwe-7WGWB0fe8M5kdBUmHeXUBSHFa5jlh8T8T9KR5u0nln2_bDOq8vNNsDe-cefvCfZzx63sRzlAsgSfhKRKfMGGt_GFzebxeGiooVePCGhRy9W819tJ2ZBiggcDn2CFXqtREGYZEHf75ik9VRlkHamHkoet_PvOaD-TVpmbbojBtSeZyvEUrZ0ErZsijqLEfNW080jsv9Q",
	"ES256": "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLm9yZyIsImF1ZCI6WyJhcGkiXSwic3ViIjoic3BpZmZlOi8vZXhhbXBsZS5vcmcvYSIsImV4cCI6NDEwMjQ0NDgwMH0.MQDhcGcwjiQEd4wv7mwutVej3lLZvqp4At7Mj17Xk71_uHp3H7qJ6iOksvGgnJkfQDk6og-d006goq7dkKqBCw",
	"ES384": "eyJhbGciOiJFUzM4NCIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLm9yZyIsImF1ZCI6WyJhcGkiXSwic3ViIjoic3BpZmZlOi8vZXhhbXBsZS5vcmcvYSIsImV4cCI6NDEwMjQ0NDgwMH0.LuXsPZCGOkkzeYlGd0pRPXh7i_rVkMGqhmanfTttOuTuPzIcQGpZWUzddPsckw3nf9P5rRO3XhHefkdOahX45ImlzFE6C1LLDXYKlu39jOqyZjAkrc5mEf5YSt092TTJ",
	"ES512": "eyJhbGciOiJFUzUxMiIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLm9yZyIsImF1ZCI6WyJhcGkiXSwic3ViIjoic3BpZmZlOi8vZXhhbXBsZS5vcmcvYSIsImV4cCI6NDEwMjQ0NDgwMH0.AYHf_VKuv95_M7Cj0lvBxvuBhN1_HIQExcJuoIUT4A8ERrbtx_1VLxR34HpiCQPCIA8LAmGg8q9KgRxw5my1ah_uAMh3AExuC7CR3VAKD_AxGofaIZQbpyf9RPbwNTpkKHdV6kyGvANnfwDFymSySh2mV7_cK797nUgw7HVyXZIoQlKD",
	"EdDSA": "eyJhbGciOiJFZERTQSIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLm9yZyIsImF1ZCI6WyJhcGkiXSwic3ViIjoic3BpZmZlOi8vZXhhbXBsZS5vcmcvYSIsImV4cCI6NDEwMjQ0NDgwMH0.n9U1c5ptD1OG1eNJ61FK1OfgcFp0cB_NHKJPvXQDXCLZjKLtzMqY0-I-QY0CAFENyj7U6JX1v7hTNyzR0SbGDw",
	"HS256": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLm9yZyIsImF1ZCI6WyJhcGkiXSwic3ViIjoic3BpZmZlOi8vZXhhbXBsZS5vcmcvYSIsImV4cCI6NDEwMjQ0NDgwMH0.NoMErz_bgc2qVs9PP5Uj9627uBgQf-mPgV3LjCPIlgA",
	"HS384": "eyJhbGciOiJIUzM4NCIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLm9yZyIsImF1ZCI6WyJhcGkiXSwic3ViIjoic3BpZmZlOi8vZXhhbXBsZS5vcmcvYSIsImV4cCI6NDEwMjQ0NDgwMH0.kGZ0xrDIEsYgMfxjcVVEUsxlC-YoUDC2hxaS2Q_Fb3NrEQYp-eFb28Ei6j0U4Fyr",
	"HS512": "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLm9yZyIsImF1ZCI6WyJhcGkiXSwic3ViIjoic3BpZmZlOi8vZXhhbXBsZS5vcmcvYSIsImV4cCI6NDEwMjQ0NDgwMH0.b1UCPnqZf_idaClcTPwqb8t-PSVsPaotVWC-6DCE04dKjfyaclokYvKJihaQn-puybs0gAvZB7-b0-3O5pm1uA",
	"crit": "eyJhbGciOiJSUzI1NiIsImNyaXQiOlsieCJdLCJ0eXAiOiJKV1QiLCJ4IjoxfQ.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLm9yZyIsImF1ZCI6WyJhcGkiXSwic3ViIjoic3BpZmZlOi8vZXhhbXBsZS5vcmcvYSIsImV4cCI6NDEwMjQ0NDgwMH0.QO0kdzJAMtkzp_nWJEgszMo-EHm3LM8SJKtGsAR5efW54kA5otY39MZC-ouczDDoDhce0tFPLqUM0KEYOZhGrBoOC3aJqetSYZRYSH5dgfNjGdhVavnJV5s9gt3nob3Y-yUjhre2kIwDHJxUPCYL3ITSn5TUcek12tLSRCZG_uT3GBznndN_M4BE6wBCHa1igujbQOlWkryAWVm3RWzHa4_zmYhjjJPXGJa3MfXf0iTwCjIMsasgBU-EFVJI70CAxWSIVj-qJpJeunsN-ZLGOHWJcFmYyHhp_rT0c6dDAARqIZvai53NbQtqtZOdZJU9YdpdcZv6d1bvFd256Xwx7Q",
	"expired": "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLm9yZyIsImF1ZCI6WyJhcGkiXSwic3ViIjoic3BpZmZlOi8vZXhhbXBsZS5vcmcvYSIsImV4cCI6MTAwMH0.g3Cff1xfcSCMmJeNTkQk-t7oLb4YTpAm3dpQdoblr5SwX5MX1csdV98QZYWwAqti5JQ1IkrFoT4PAbtt88IXf37z3wqZMhIVWfEEzpKOar5AXLjKMIMLdeq94v0PLb_HhMO7OcBAAcjZOZG6ILP7Czhp5h3DnuIPdmzbueITWOwNl6HTCQ9-c219hKuW5avHQyNCv9VO0elR_OsWyFk5KJYINwk6ERebTPOKIEqXzzF3SNY-1f0VOVrLxelwd5usV89AWEPVKHyfMcNu971G4A_oYMSY008dL8Zk7T_4OrnYRU-T1c6SlMeTCFcp9GcAP6R0WNh71nilHW9pNcFbfg",
	"later": "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLm9yZyIsImF1ZCI6WyJhcGkiXSwic3ViIjoic3BpZmZlOi8vZXhhbXBsZS5vcmcvYSIsImV4cCI6NDEwMjQ0NDgwMCwibmJmIjo0MDAwMDAwMDAwfQ.LPrEGN9G-FZHZHKpOw27ujAEXT1J21YNUUotwyEwOPUc-PpYOzw_Z8zbkf9Gky5eqY6nCq3U__wp2H37CUTC2KvexZn5nOsZnVKjWW6G43pslghksi19gkB_OXv2xD0b2KGe5yaHPUQyTdrlRiX0tKUh68_ERWXVn6OYwRh87Ho8AETnl3bJzBqObwnIv7fSaXYALoR-imF80k9oDHN4CPBkMiUILj-apzwYMDfIsPlxqumm_w3DpjyrkWDTQveaypqTcFN-BEsntdL3Oq9d535RWOQsI3T57WC_C1mme6O4BEVvEU_pU1NyiYj7M6c_U-wvOrWRRbDxGcKh55shbg",
	"noaud": "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJpIn0.V0VIYJ_qkihrt0RVt1dvCgXdwLomSmjaSrdfqM4ZRIs8BVh2yiqHICNeQI9j00-UoeFEiCmzyTOGVVFv0VPtKFAWJPkGfXL9JbOTtGLjaTyCFmLKC_X9IDMkKl2idNsUpYDmumY9Zp_AfIouHgLl5sJ5sypl82xrHDG7UjS-ylW9iHkx3ToWU2aZ6bqfgN8YSI3QhcdhupfnfL2LNUcqG5w7LJ9eDWVxR-G5CJLOchriDqQ9dHnYOAuQ3OQuRyyaUbZp8YmepdmAngQV_yYS4gidyTdRGDlHAMBCvecAsBW_3wN78r3y74RY0txtSNCOyaiu2WRtC_mRd6xN3-WxNw",
	"none": "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLm9yZyIsImF1ZCI6WyJhcGkiXSwic3ViIjoic3BpZmZlOi8vZXhhbXBsZS5vcmcvYSIsImV4cCI6NDEwMjQ0NDgwMH0.",
}

keys := {
	"rsa": "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAp0hP03ub5G0s3BEEcKc/\n/UjB/4AfcuDFQAh+xy/m9OUZitnXk8RRfkSch0FRbBLSLR6lDsKblpz8+nj++pcP\nZruV8c+Xwq/wQ9WZ5LBjQgBTxeCjNLSVL1g6HVq5wEHZVxrmBRvmxEyNCTmwszoz\ngMm/JR/9wzIHFTyg5nLhy6T8UiFdtQ1JOQFb2y6XqL2tJOaqOn7nk+jofHEQFRI+\n8rQ9zBdlGdGlSBB679TDV5HC4QWsT5u+IDS3/1nZ31zjqPtDxf/QccRIw22M9i2B\nUBasdjexZo7S5UhvgwgpuwOS0kdNGrT7FIZ8NfMi7GethHhrB5SXAJjjhz45Aq/l\nCQIDAQAB\n-----END PUBLIC KEY-----\n",
	"rsa_cert": "-----BEGIN CERTIFICATE-----\nMIICkzCCAXugAwIBAgIBBzANBgkqhkiG9w0BAQsFADAMMQowCAYDVQQDDAF0MCAX\nDTIwMDEwMTAwMDAwMFoYDzIwOTAwMTAxMDAwMDAwWjAMMQowCAYDVQQDDAF0MIIB\nIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAp0hP03ub5G0s3BEEcKc//UjB\n/4AfcuDFQAh+xy/m9OUZitnXk8RRfkSch0FRbBLSLR6lDsKblpz8+nj++pcPZruV\n8c+Xwq/wQ9WZ5LBjQgBTxeCjNLSVL1g6HVq5wEHZVxrmBRvmxEyNCTmwszozgMm/\nJR/9wzIHFTyg5nLhy6T8UiFdtQ1JOQFb2y6XqL2tJOaqOn7nk+jofHEQFRI+8rQ9\nzBdlGdGlSBB679TDV5HC4QWsT5u+IDS3/1nZ31zjqPtDxf/QccRIw22M9i2BUBas\ndjexZo7S5UhvgwgpuwOS0kdNGrT7FIZ8NfMi7GethHhrB5SXAJjjhz45Aq/lCQID\nAQABMA0GCSqGSIb3DQEBCwUAA4IBAQAQoGUY+iFh6kZNwvNpC0FrdL7J1XMD4R/K\nDjVyEoIFrF/Pj77+iQKwj0C0OhkqIi6OhORIookaUuIdkHOZoylBa7nYavyHHmZB\nVy2pORuweQyCuSFwTWky9W97FcFEYt4W6+BgCXoVDJLR9D1RD+0R3MPJkg3zp6XE\nNqDp45/EwOyMlSdfxWSRmAf98Srx7x7r658pxRXx+orr2yKMatE+NK/ek/QxLqKF\nFTibISL+y6q6NcBOTb1X8Xbfj8Jj2nrHDgLylJ/KPJ2wqq2lzMqw4pA1hRtyCd+7\n4ECt372Luj9hwuT1c3l+oqSypVXStDYHJ8sYIJ+cdrOUUkjPZ0kx\n-----END CERTIFICATE-----\n",
	"p256": "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEnsaRKnYSlFMmYhyp177TXh5X7JdB\nsYFRqZW/pAMwe74mTarlQ9BMKzYhBQDU0pSdAtk+YYfVbDs0kblwAHBwaA==\n-----END PUBLIC KEY-----\n",
	"p256_cert": "-----BEGIN CERTIFICATE-----\nMIIBBjCBraADAgECAgEHMAoGCCqGSM49BAMCMAwxCjAIBgNVBAMMAXQwIBcNMjAw\nMTAxMDAwMDAwWhgPMjA5MDAxMDEwMDAwMDBaMAwxCjAIBgNVBAMMAXQwWTATBgcq\nhkjOPQIBBggqhkjOPQMBBwNCAASexpEqdhKUUyZiHKnXvtNeHlfsl0GxgVGplb+k\nAzB7viZNquVD0EwrNiEFANTSlJ0C2T5hh9VsOzSRuXAAcHBoMAoGCCqGSM49BAMC\nA0gAMEUCIQDyEbWjtF1TxCOLOww+9MsF+nrb4JaJR2ME0I4pz8GxWAIgAorAdaSl\nESvhXS1LDGPX7fuI7Z/dXvjI8LsQpCJXHis=\n-----END CERTIFICATE-----\n",
	"p384": "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE+Ej4AJOBxixCBSKMx5SAKjKmVCvSHB1i\nf366OyzMcCOcqW+3P4VTmeIkWgZe6PQZ08v3q3druo3le3BHI37GnGzLcIVBls7p\nF9/xm9XwmS1zDfPHYoyEoWT1/LgM3otc\n-----END PUBLIC KEY-----\n",
	"p521": "-----BEGIN PUBLIC KEY-----\nMIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBm9RqGIKcu0lNundS2j4DRKUgogBb\n1DpRtcE9b4JEoX9NEtOomwovZTICQPxGJnaFRbzgc3ddnk6P1/L2BFiInpYBgwdx\nAF+ml2aevWGiG0u7NTwfBtDEOQr/yfqop6f1M/fPMK+5xUS90oTmvOpcoZ8W5R7w\nRbo6blEimS+UMxwdzG8=\n-----END PUBLIC KEY-----\n",
	"p521_jwk": "{\"kty\": \"EC\", \"crv\": \"P-521\", \"x\": \"AZvUahiCnLtJTbp3Uto-A0SlIKIAW9Q6UbXBPW-CRKF_TRLTqJsKL2UyAkD8RiZ2hUW84HN3XZ5Oj9fy9gRYiJ6W\", \"y\": \"AYMHcQBfppdmnr1hohtLuzU8HwbQxDkK_8n6qKen9TP3zzCvucVEvdKE5rzqXKGfFuUe8EW6Om5RIpkvlDMcHcxv\", \"kid\": \"k1\"}",
	"p521_other": "-----BEGIN PUBLIC KEY-----\nMIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQAnmlnpbkmN74V344r05jTtGh7xsB6\nuxLDGld/4ba5vhs1sHZ2AEVXMtAsxGOaiaHWGTbtS9MuG4f8PrJ+8nr/JSEAfdoG\nQnkiiN8yokE+5Q3Jl9a3jNHeE0a6x2jku/PT8XgtEYV7cqb0+crK3Xhg3XFSwqyy\nckHVu8iM2RDBXyg3AUE=\n-----END PUBLIC KEY-----\n",
	"ed25519": "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAbOH1iFJ13AKAZY/+KvesBUpQw7YxXbdc8lDqho1IceQ=\n-----END PUBLIC KEY-----\n",
	"jwk": "{\"kty\": \"RSA\", \"key_ops\": [\"verify\"], \"n\": \"p0hP03ub5G0s3BEEcKc__UjB_4AfcuDFQAh-xy_m9OUZitnXk8RRfkSch0FRbBLSLR6lDsKblpz8-nj--pcPZruV8c-Xwq_wQ9WZ5LBjQgBTxeCjNLSVL1g6HVq5wEHZVxrmBRvmxEyNCTmwszozgMm_JR_9wzIHFTyg5nLhy6T8UiFdtQ1JOQFb2y6XqL2tJOaqOn7nk-jofHEQFRI-8rQ9zBdlGdGlSBB679TDV5HC4QWsT5u-IDS3_1nZ31zjqPtDxf_QccRIw22M9i2BUBasdjexZo7S5UhvgwgpuwOS0kdNGrT7FIZ8NfMi7GethHhrB5SXAJjjhz45Aq_lCQ\", \"e\": \"AQAB\", \"kid\": \"k1\"}",
	"jwks": "{\"keys\": [{\"kty\": \"EC\", \"crv\": \"P-256\", \"x\": \"nsaRKnYSlFMmYhyp177TXh5X7JdBsYFRqZW_pAMwe74\", \"y\": \"Jk2q5UPQTCs2IQUA1NKUnQLZPmGH1Ww7NJG5cABwcGg\", \"kid\": \"k2\"}, {\"kty\": \"RSA\", \"key_ops\": [\"verify\"], \"n\": \"p0hP03ub5G0s3BEEcKc__UjB_4AfcuDFQAh-xy_m9OUZitnXk8RRfkSch0FRbBLSLR6lDsKblpz8-nj--pcPZruV8c-Xwq_wQ9WZ5LBjQgBTxeCjNLSVL1g6HVq5wEHZVxrmBRvmxEyNCTmwszozgMm_JR_9wzIHFTyg5nLhy6T8UiFdtQ1JOQFb2y6XqL2tJOaqOn7nk-jofHEQFRI-8rQ9zBdlGdGlSBB679TDV5HC4QWsT5u-IDS3_1nZ31zjqPtDxf_QccRIw22M9i2BUBasdjexZo7S5UhvgwgpuwOS0kdNGrT7FIZ8NfMi7GethHhrB5SXAJjjhz45Aq_lCQ\", \"e\": \"AQAB\", \"kid\": \"k1\"}]}",
	"other": "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAsnDTnrC7FIm8xwBW76bi\nNazx48wd05blXpWXMc+k5/+Q85Yw/pAdKHfglFpQSM1y70eObnb5wu8LHu+7LPsG\neUaCtpZFrbFR32oI3T6KqMWo9BJppIchI6kayg7xv3svC61D8h2JF88vgszcicnN\nmF+q7/MVDfJTuxip+xmmxTGebH8xBwuYNIFqiuuoQNNkUXllG7uYSTrd2p4Eh+LH\ni/nW7MW++y2AqsxxbsffDLS4GgBiBJB9FASN1aiHBdbb2yjvOfUNlAkJq2dc7s0e\ne9tx+KY7OOs72rORHhl7h0LOLUlZ9jZrT9Vy1gFVzA0MI2PdintKIbsnGoyvvPFu\nbwIDAQAB\n-----END PUBLIC KEY-----\n",
}

test_crypto_sha1 if crypto.sha1("Sécplane") == "088a6cb65b04144d46e8b3ad554532d69de8b50e"

test_crypto_sha1_of_nothing if crypto.sha1("") == "da39a3ee5e6b4b0d3255bfef95601890afd80709"

test_crypto_sha256 if crypto.sha256("Sécplane") == "7a96f1183ba81c313ad2619dbcf10337b296aa71fec4520a848ec4ae2a12a2a5"

test_crypto_sha256_of_nothing if crypto.sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

test_hmac_sha1 if crypto.hmac.sha1("text", "key") == "369e2959eb49450338b212748f77d8ded74847bb"

test_hmac_sha256 if crypto.hmac.sha256("text", "key") == "6afa9046a9579cad143a384c1b564b9a250d27d6f6a63f9f20bf3a7594c9e2c6"

test_hmac_sha512 if crypto.hmac.sha512("text", "key") == "b585312acdd38ec13f13bb4cba35a75473f32b6ae4a0303926815bd43d7a2631516b2b031f34d89eda853e948d5057de54a880c16697242dbe6a1ad994bc4e5d"

test_hmac_equal if [crypto.hmac.equal("a", "a"), crypto.hmac.equal("a", "b")] == [true, false]

test_cidr_contains if [x | some pair in [["10.0.0.0/8", "10.2.0.0/16"], ["10.0.0.0/8", "10.2.3.4"], ["10.2.0.0/16", "10.0.0.0/8"], ["10.0.0.1/8", "10.9.9.9"], ["2001:db8::/32", "2001:db8:1::1"], ["2001:db8::/32", "10.0.0.1"]]; x := net.cidr_contains(pair[0], pair[1])] == [true, true, false, true, true, false]

test_cidr_intersects if [x | some pair in [["10.0.0.0/8", "10.2.0.0/16"], ["10.2.0.0/16", "10.0.0.0/8"], ["10.2.0.0/16", "10.3.0.0/16"], ["::/0", "2001:db8::/32"]]; x := net.cidr_intersects(pair[0], pair[1])] == [true, true, false, true]

test_cidr_is_valid if [x | some text in ["10.0.0.0/8", "10.0.0.1/8", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8", "::/0", "::/129", "", "10.0.0.0/08", "010.0.0.0/8", "::ffff:10.0.0.0/104"]; x := net.cidr_is_valid(text)] == [true, true, false, false, false, true, false, false, true, false, true]

test_cidr_contains_matches if net.cidr_contains_matches(["10.0.0.0/8", "192.168.0.0/16"], {"a": "10.1.1.1", "b": "192.168.4.0/24", "c": "8.8.8.8"}) == {[0, "a"], [1, "b"]}

test_cidr_contains_matches_of_texts if net.cidr_contains_matches("10.0.0.0/8", "10.1.0.0/16") == {["10.0.0.0/8", "10.1.0.0/16"]}

test_cidr_contains_matches_of_sets if net.cidr_contains_matches({"10.0.0.0/8"}, {"10.1.0.0/16", "11.0.0.0/8"}) == {["10.0.0.0/8", "10.1.0.0/16"]}

test_cidr_contains_matches_of_tuples if net.cidr_contains_matches([["10.0.0.0/8", "ten"]], {["10.1.0.0/16", 1]}) == {[0, ["10.1.0.0/16", 1]]}

test_cidr_merge if net.cidr_merge(["10.0.0.0/9", "10.128.0.0/9", "2001:db8::/33", "2001:db8:8000::/33"]) == {"10.0.0.0/8", "2001:db8::/32"}

test_cidr_expand if net.cidr_expand("10.0.0.5/30") == {"10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7"}

test_cidr_expand_v6 if net.cidr_expand("2001:db8::/126") == {"2001:db8::", "2001:db8::1", "2001:db8::2", "2001:db8::3"}

test_decode if io.jwt.decode(tokens.HS256) == [{"alg": "HS256", "typ": "JWT"}, {"aud": ["api"], "exp": 4102444800, "iss": "https://issuer.example.org", "sub": "spiffe://example.org/a"}, "368304af3fdb81cdaa56cf4f3f9523f7adbbb818107fe98f815dcb8c23c89600"]

test_verify_rs256_with_rsa if io.jwt.verify_rs256(tokens.RS256, keys.rsa) == true

test_verify_rs256_with_rsa_cert if io.jwt.verify_rs256(tokens.RS256, keys.rsa_cert) == true

test_verify_rs256_with_jwk if io.jwt.verify_rs256(tokens.RS256, keys.jwk) == true

test_verify_rs256_with_jwks if io.jwt.verify_rs256(tokens.RS256, keys.jwks) == true

test_verify_rs256_with_other if io.jwt.verify_rs256(tokens.RS256, keys.other) == false

test_verify_rs256_with_p256 if io.jwt.verify_rs256(tokens.RS256, keys.p256) == false

test_verify_rs384_with_rsa if io.jwt.verify_rs384(tokens.RS384, keys.rsa) == true

test_verify_rs512_with_rsa if io.jwt.verify_rs512(tokens.RS512, keys.rsa) == true

test_verify_ps256_with_rsa if io.jwt.verify_ps256(tokens.PS256, keys.rsa) == true

test_verify_ps384_with_rsa if io.jwt.verify_ps384(tokens.PS384, keys.rsa) == true

test_verify_ps512_with_rsa if io.jwt.verify_ps512(tokens.PS512, keys.rsa) == true

test_verify_es256_with_p256 if io.jwt.verify_es256(tokens.ES256, keys.p256) == true

test_verify_es256_with_p256_cert if io.jwt.verify_es256(tokens.ES256, keys.p256_cert) == true

test_verify_es256_with_jwks if io.jwt.verify_es256(tokens.ES256, keys.jwks) == false

test_verify_es384_with_p384 if io.jwt.verify_es384(tokens.ES384, keys.p384) == true

test_verify_es512_with_p521 if io.jwt.verify_es512(tokens.ES512, keys.p521) == true

test_verify_es512_with_p521_jwk if io.jwt.verify_es512(tokens.ES512, keys.p521_jwk) == true

test_verify_es512_with_another_p521 if io.jwt.verify_es512(tokens.ES512, keys.p521_other) == false

test_verify_es512_with_rsa if io.jwt.verify_es512(tokens.ES512, keys.rsa) == false

test_verify_eddsa_with_ed25519 if io.jwt.verify_eddsa(tokens.EdDSA, keys.ed25519) == true

test_verify_another_algorithm if io.jwt.verify_rs256(tokens.RS512, keys.rsa) == false

test_verify_hs256 if [io.jwt.verify_hs256(tokens.HS256, "a secret that is long enough for every algorithm, sixty-four bytes"), io.jwt.verify_hs256(tokens.HS256, "another")] == [true, false]

test_verify_hs384 if [io.jwt.verify_hs384(tokens.HS384, "a secret that is long enough for every algorithm, sixty-four bytes"), io.jwt.verify_hs384(tokens.HS384, "another")] == [true, false]

test_verify_hs512 if [io.jwt.verify_hs512(tokens.HS512, "a secret that is long enough for every algorithm, sixty-four bytes"), io.jwt.verify_hs512(tokens.HS512, "another")] == [true, false]

test_decode_verify if io.jwt.decode_verify(tokens.RS256, {"cert": keys.rsa, "aud": "api", "iss": "https://issuer.example.org", "time": 1e18}) == [true, {"alg": "RS256", "kid": "k1", "typ": "JWT"}, {"aud": ["api"], "exp": 4102444800, "iss": "https://issuer.example.org", "sub": "spiffe://example.org/a"}]

test_decode_verify_without_audience if io.jwt.decode_verify(tokens.RS256, {"cert": keys.rsa, "time": 1e18}) == [false, {}, {}]

test_decode_verify_of_no_audience if io.jwt.decode_verify(tokens.noaud, {"cert": keys.rsa, "aud": "api"}) == [false, {}, {}]

test_decode_verify_of_neither_audience if io.jwt.decode_verify(tokens.noaud, {"cert": keys.rsa}) == [true, {"alg": "RS256", "typ": "JWT"}, {"iss": "i"}]

test_decode_verify_other_issuer if io.jwt.decode_verify(tokens.RS256, {"cert": keys.rsa, "aud": "api", "iss": "x", "time": 1e18}) == [false, {}, {}]

test_decode_verify_expired if io.jwt.decode_verify(tokens.expired, {"cert": keys.rsa, "aud": "api", "time": 2e18}) == [false, {}, {}]

test_decode_verify_later if io.jwt.decode_verify(tokens.later, {"cert": keys.rsa, "aud": "api", "time": 2e18}) == [false, {}, {}]

test_decode_verify_crit if io.jwt.decode_verify(tokens.crit, {"cert": keys.rsa, "aud": "api", "time": 1e18}) == [false, {}, {}]

test_decode_verify_none if io.jwt.decode_verify(tokens.none, {"cert": keys.rsa, "aud": "api", "time": 1e18}) == [false, {}, {}]

test_decode_verify_alg if io.jwt.decode_verify(tokens.RS256, {"cert": keys.rsa, "alg": "RS256", "aud": "api", "time": 1e18}) == [true, {"alg": "RS256", "kid": "k1", "typ": "JWT"}, {"aud": ["api"], "exp": 4102444800, "iss": "https://issuer.example.org", "sub": "spiffe://example.org/a"}]

test_decode_verify_es512 if io.jwt.decode_verify(tokens.ES512, {"cert": keys.p521, "aud": "api", "time": 1e18}) == [true, {"alg": "ES512", "kid": "k1", "typ": "JWT"}, {"aud": ["api"], "exp": 4102444800, "iss": "https://issuer.example.org", "sub": "spiffe://example.org/a"}]

test_decode_verify_other_alg if io.jwt.decode_verify(tokens.RS256, {"cert": keys.rsa, "alg": "PS256", "aud": "api", "time": 1e18}) == [false, {}, {}]

test_decode_verify_jwk if io.jwt.decode_verify(tokens.RS256, {"cert": keys.jwk, "aud": "api", "time": 1e18}) == [true, {"alg": "RS256", "kid": "k1", "typ": "JWT"}, {"aud": ["api"], "exp": 4102444800, "iss": "https://issuer.example.org", "sub": "spiffe://example.org/a"}]

test_decode_verify_jwks if io.jwt.decode_verify(tokens.ES256, {"cert": keys.jwks, "aud": "api", "time": 1e18}) == [false, {}, {}]

test_decode_verify_secret if io.jwt.decode_verify(tokens.HS256, {"secret": "a secret that is long enough for every algorithm, sixty-four bytes", "aud": "api", "time": 1e18}) == [true, {"alg": "HS256", "typ": "JWT"}, {"aud": ["api"], "exp": 4102444800, "iss": "https://issuer.example.org", "sub": "spiffe://example.org/a"}]

test_decode_verify_key_as_secret if io.jwt.decode_verify(tokens.HS256, {"secret": keys.rsa, "aud": "api", "time": 1e18}) == [false, {}, {}]

test_decode_verify_unknown_constraint if not io.jwt.decode_verify(tokens.RS256, {"cert": keys.rsa, "aud": "api", "issuer": "x"})
